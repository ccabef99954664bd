"""The same as ``sarlp convert coco``, from a checkout; ``--help`` tells more."""

import sys

from sarlp.commands import main

if __name__ == '__main__':
    main(['convert', 'coco', *sys.argv[1:]])
