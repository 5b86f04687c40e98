"""Data sets: from files to one array, of pixel levels or of vectors, and from there to the model's range and back.

    load(DataConfig) -> Dataset             load.py, config.py, dataset.py
        a built-in set                      builtin/
        an array of vectors                 vectors.py
        MNIST's idx files                   idx.py, arrays.py
        a folder of images                  listing.py, metadata.py, decode.py, folder.py
    PixelRange: levels <-> [-1, 1]          pixels.py

Loading holds no randomness and needs no torch (only ``PixelRange`` does): the same files give the same array, keys
and split everywhere. What was not used is named in ``ImageDataset.skipped``, what was done to the rest in ``notes``.
"""
