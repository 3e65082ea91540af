"""How the bundled weights were trained: data, training loop, and one recipe per model."""
