"""The same as ``sarlp review``, from a checkout; ``--help`` tells more."""

from sarlp.commands.review import main

if __name__ == '__main__':
    main()
