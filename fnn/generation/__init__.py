"""Continue a sequence of ids: by drawing them, or by a search for probable ones.

Each way is one compiled program, a scan over the new positions in which the network reads one id at a time. What it
has read before is in the memory of its stream (`fnn.Stream`), such as the state of an LSTM.

| module | contains |
|---|---|
| `sample` | draw ids, with a temperature |
| `beam_search` | search for the most probable continuations |
| `truncation` | leave out improbable ids |
| `reading` | checks of networks and prompts, and the logits of the next id |
"""

from fnn.generation.beam_search import Beams as Beams
from fnn.generation.beam_search import beam_search as beam_search
from fnn.generation.sample import sample as sample
