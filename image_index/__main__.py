"""`python -m image_index` is `imgidx`."""

from image_index.cli.app import main

if __name__ == "__main__":
    main()
