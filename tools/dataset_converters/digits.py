"""The same as ``sarlp convert digits``, from a checkout; ``--help`` tells more."""

from sarlp.commands.convert_digits import main

if __name__ == '__main__':
    main()
