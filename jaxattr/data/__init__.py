"""Photos, class names and labelled folders: from files to arrays, and back to files.

Decoding and preprocessing as the checkpoint was trained with, the rule of which files are images,
how a folder or a table says its labels, and files that appear whole or not at all.
"""
