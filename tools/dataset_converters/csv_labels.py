"""The same as ``sarlp convert labels``, from a checkout; ``--help`` tells more."""

from sarlp.commands.convert_labels import main

if __name__ == '__main__':
    main()
