"""The same as ``sarlp convert embeddings``, from a checkout; ``--help`` tells more."""

from sarlp.commands.convert_embeddings import main

if __name__ == '__main__':
    main()
