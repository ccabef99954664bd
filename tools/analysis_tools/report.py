"""The same as ``sarlp report``, from a checkout; ``--help`` tells more."""

from sarlp.commands.report import main

if __name__ == '__main__':
    main()
