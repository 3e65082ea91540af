"""What the page bears: many visitors for minutes, some of whom vanish, and one who does their worst."""
