"""Tutorials: Jupyter notebooks with their outputs, in an order in which to read them.

`python -m experiments tutorials` runs them and saves what they show. How to write one:

1. Name the file with the next number: `01_first_network.ipynb`. It reads no files but those of the packages that
   `pip install fnn[notebooks]` installs, needs no network, and runs within 20 seconds on two CPU cores.
2. Text is plain English for students, formulas are Markdown mathematics ($…$), cells are small.
3. Outputs are the same in each run: fixed keys, nothing on the standard error, no paths, no addresses of objects.
   Durations such as `0.8 s` may differ. Give a cell the tag `varies` if what it shows depends on the machine in
   another way: the test then only compares the kind of its outputs. A cell with the tag `raises-exception` may end
   with an error; its last line is stored.
4. Pictures are PNG, and a notebook with them has at most 300 kB.
"""
