"""The same as ``sarlp convert coco``, from a checkout; ``--help`` tells more."""

from sarlp.commands.convert_coco import main

if __name__ == '__main__':
    main()
