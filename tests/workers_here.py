"""Workers for tests of what goes to workers, without Ray."""

import pickle
from collections.abc import Iterator


class Here:
    """Workers that are this process; what goes to them and comes back is pickled, as over Ray."""

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
