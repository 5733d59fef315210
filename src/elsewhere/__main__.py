"""`python -m elsewhere` is `elsewhere`."""

from elsewhere.cli import app

app(prog_name="elsewhere")
