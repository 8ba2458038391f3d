"""One module for each stage of ``dvc.yaml``: options in, a call of the library ``chatladder``, one line out.

In a project, they run only with the code whose hashes are in its code.json.
"""

from pathlib import Path

from chatladder.io.code import refuse_other

refuse_other(Path(__file__).parents[1])
