"""How the bundled weights were made: data, loop and one recipe per model."""
