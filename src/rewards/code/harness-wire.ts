/**
 * Python code of both interpreters: values to JSON and back. Plain values are copied; other values stay in their
 * interpreter, and the other side refers to them by number. Messages are built only from exact types, so that no method
 * of a program is called to describe a value.
 */
export const WIRE = `
class Odd(Exception):
    """A message that no honest side sends."""

def make_wire():
    Fraction, Decimal = fractions.Fraction, decimal.Decimal
    date, time_, moment, delta = datetime.date, datetime.time, datetime.datetime, datetime.timedelta
    deque, Counter, Ordered, Default = collections.deque, collections.Counter, collections.OrderedDict, collections.defaultdict
    views = {type({}.keys()): "keys", type({}.values()): "values", type({}.items()): "items"}
    kinds = (int, float, complex, str, bytes, bytearray, bool, list, tuple, dict, set, frozenset, range, type(None), object, type,
             Fraction, Decimal, date, moment, delta, deque, Counter, Ordered, Default)
    named = {kind.__name__: kind for kind in kinds}
    faults = {name: kind for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)}
    named.update(faults)
    names = {kind: name for name, kind in named.items()}
    rows = {Counter: "Counter", Ordered: "OrderedDict", Default: "defaultdict"}
    texts = {Decimal: "Decimal", moment: "datetime", date: "date", time_: "time"}
    from_text = {"Decimal": Decimal, "datetime": moment.fromisoformat, "date": date.fromisoformat, "time": time_.fromisoformat}
    bases = ((int, int.__int__), (float, float.__float__), (str, str.__str__), (bytes, bytes.__getitem__), (list, list.__iter__),
             (tuple, tuple.__iter__), (dict, dict.items), (set, set.__iter__), (frozenset, frozenset.__iter__))

    class Writer:
        def __init__(self, side, known=()):
            self.side, self.numbers, self.containers = side, {}, []
            self.depth, self.left, self.forced = 0, 500, None
            for item in known:
                self.number(item)

        def number(self, item):
            self.numbers[id(item)] = len(self.containers)
            self.containers.append(item)

        def put(self, v):
            kind = type(v)
            if v is None or kind is bool or kind is str:
                return v
            if kind is int:
                return {"i": hex(v)}
            if kind is float:
                return {"f": float.__repr__(v)}
            if kind is tuple:
                return {"t": [self.put(item) for item in v]}
            if kind is list or kind is dict or kind is set or kind is bytearray:
                at = self.numbers.get(id(v))
                if at is not None:
                    return {"r": at}
                self.number(v)
                return self.content(v)
            if kind is frozenset:
                return {"z": [self.put(item) for item in v]}
            if kind is bytes:
                return {"b": v.hex()}
            if kind is complex:
                return {"c": [self.put(v.real), self.put(v.imag)]}
            if kind is range:
                return {"R": [hex(v.start), hex(v.stop), hex(v.step)]}
            if kind is Fraction:
                return {"F": [hex(v.numerator), hex(v.denominator)]}
            if kind in texts:
                return {"T": [texts[kind], str(v) if kind is Decimal else v.isoformat()]}
            if kind is delta:
                return {"D": [v.days, v.seconds, v.microseconds]}
            if kind is deque:
                return {"q": [[self.put(item) for item in v], v.maxlen]}
            if kind in rows:
                return {"o": [rows[kind], [[self.put(k), self.put(x)] for k, x in dict.items(v)]]}
            if kind in views:
                return {"V": [views[kind], [self.put(item) for item in v]]}
            if isinstance(v, type) and v in names:
                return {"g": names[v]}
            if kind is types.ModuleType and v.__name__ in sys.stdlib_module_names:
                return {"m": v.__name__}
            return self.side.write(v, self)

        def content(self, v):
            kind = type(v)
            if kind is list:
                return {"l": [self.put(item) for item in v]}
            if kind is dict:
                return {"d": [[self.put(k), self.put(x)] for k, x in v.items()]}
            if kind is set:
                return {"s": [self.put(item) for item in v]}
            return {"a": v.hex()}

        def plain(self, v):
            """A value of a class that is made from a plain one, as the plain one."""
            for base, exact in bases:
                if isinstance(v, base):
                    items = exact(v) if base is not bytes else exact(v, slice(None))
                    return True, self.put(items if base in (int, float, str, bytes) else base(items))
            return False, None

    class Reader:
        def __init__(self, side, known=()):
            self.side, self.containers = side, list(known)

        def new(self, item):
            self.containers.append(item)
            return item

        def get(self, node):
            kind = type(node)
            if node is None or kind is bool or kind is str:
                return node
            if kind is not dict or not node:
                raise Odd("no value")
            key = next(iter(node))
            x = node[key]
            match key:
                case "i":
                    return int(x, 16)
                case "f":
                    return float(x)
                case "t":
                    return tuple([self.get(item) for item in x])
                case "l":
                    return self.fill(self.new([]), node)
                case "d":
                    return self.fill(self.new({}), node)
                case "s":
                    return self.fill(self.new(set()), node)
                case "a":
                    return self.fill(self.new(bytearray()), node)
                case "r":
                    if type(x) is not int or not 0 <= x < len(self.containers):
                        raise Odd("no container of this number")
                    return self.containers[x]
                case "z":
                    return frozenset([self.get(item) for item in x])
                case "b":
                    return bytes.fromhex(x)
                case "c":
                    return complex(*[float(self.get(part)) for part in x])
                case "R":
                    return range(*[int(part, 16) for part in x])
                case "F":
                    return Fraction(*[int(part, 16) for part in x])
                case "T":
                    return from_text[x[0]](x[1])
                case "D":
                    return delta(*x)
                case "q":
                    return deque([self.get(item) for item in x[0]], x[1])
                case "o":
                    pairs = [(self.get(k), self.get(v)) for k, v in x[1]]
                    return {"Counter": lambda p: Counter(dict(p)), "OrderedDict": Ordered, "defaultdict": dict}[x[0]](pairs)
                case "V":
                    items = [self.get(item) for item in x[1]]
                    if x[0] == "items":
                        return dict(items).items()
                    return dict.fromkeys(items).keys() if x[0] == "keys" else dict(enumerate(items)).values()
                case "g":
                    return named[x]
            return self.side.read(key, node, self)

        def fill(self, item, node):
            """Puts a message's content in place of what a container holds."""
            kind = type(item)
            key = {list: "l", dict: "d", set: "s", bytearray: "a"}[kind]
            x = node[key]
            if kind is bytearray:
                item[:] = bytes.fromhex(x)
                return item
            if kind is dict:
                pairs = [(self.get(k), self.get(v)) for k, v in x]
                item.clear()
                item.update(pairs)
                return item
            items = [self.get(part) for part in x]
            item.clear()
            item.extend(items) if kind is list else item.update(items)
            return item

    def same_content(a, b):
        if type(a) is bytearray:
            return a == b
        if len(a) != len(b):
            return False
        if type(a) is set:
            return {id(item) for item in a} == {id(item) for item in b}
        pairs = zip(a, b) if type(a) is list else zip(itertools.chain(*a.items()), itertools.chain(*b.items()))
        return all(x is y for x, y in pairs)

    class Handles:
        """Objects that the other side knows by number."""
        def __init__(self):
            self.items, self.numbers = [], {}

        def of(self, item):
            n = self.numbers.get(id(item))
            if n is None:
                n = self.numbers[id(item)] = len(self.items)
                self.items.append(item)
                return n, True
            return n, False

        def at(self, n):
            if type(n) is not int or not 0 <= n < len(self.items):
                raise Odd("no object of this number")
            return self.items[n]

    def asks(path="/dev/peer"):
        loads, dumps, read, write, open_fd, flags = json.loads, json.dumps, os.read, os.write, os.open, os.O_RDWR
        fd = []
        def ask(message):
            if not fd:
                fd.append(open_fd(path, flags))
            data = dumps(message).encode()
            while data:
                data = data[write(fd[0], data):]
            parts = []
            while part := read(fd[0], 1 << 20):
                parts.append(part)
            return loads(b"".join(parts))
        return ask

    return types.SimpleNamespace(Writer=Writer, Reader=Reader, Handles=Handles, asks=asks, named=named, names=names, faults=faults,
                                 same_content=same_content)
`;
