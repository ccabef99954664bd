"""The same as ``sarlp export``, from a checkout; ``--help`` tells more."""

from sarlp.commands.export import main

if __name__ == '__main__':
    main()
