"""Local workers, for tests of the data that workers get, without Ray."""

import pickle
from collections.abc import Iterator


class Here:
    """Workers in this process; their arguments and results are pickled, as with Ray."""

    most_bytes = 256 * 2**20

    def __init__(self):
        self.items = 0

    def share(self, size):
        return size

    def map(self, function, items, *shared):
        function, shared = pickle.loads(pickle.dumps((function, shared)))
        for item in items:
            self.items += 1
            result = function(pickle.loads(pickle.dumps(item)), *shared)
            yield pickle.loads(pickle.dumps(list(result) if isinstance(result, Iterator) else result))

    def parts(self, need):
        return 4
