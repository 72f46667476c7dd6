"""The commands (click), one file per subject. `main` gathers them; each command is thin and talks to the admin API."""
