"""The program `elsewhere`, also as `python -m elsewhere`."""

from elsewhere import stopping


def main() -> None:
    """Run the command line; signals are looked after before anything that takes long is imported."""
    stopping.end_at_once()

    from elsewhere.cli import app

    app(prog_name="elsewhere")


if __name__ == "__main__":
    main()
