"""The same as ``sarlp sweep``, from a checkout; ``--help`` tells more."""

from sarlp.commands.sweep import main

if __name__ == '__main__':
    main()
