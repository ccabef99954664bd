"""The same as ``sarlp predict``, from a checkout; ``--help`` tells more."""

from sarlp.commands.predict import main

if __name__ == '__main__':
    main()
