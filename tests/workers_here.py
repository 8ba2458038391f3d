"""Workers for tests of what goes to workers, without Ray."""

import pickle


class Here:
    """Workers that are this process; what goes to them and comes back is pickled, as over Ray."""

    def __init__(self):
        self.items = 0

    def map(self, function, items, *shared):
        function, shared = pickle.loads(pickle.dumps((function, shared)))
        for item in items:
            self.items += 1
            yield pickle.loads(pickle.dumps(function(pickle.loads(pickle.dumps(item)), *shared)))

    def parts(self, need):
        return 4
