"""The same as ``sarlp results``, from a checkout; ``--help`` tells more."""

from sarlp.commands.results import main

if __name__ == '__main__':
    main()
