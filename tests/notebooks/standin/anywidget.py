"""As much of anywidget as the notebook uses. `kernel` is the test's: `open(esm, state)`, `show()` and `update(state)`."""

import base64
import json

import kernel
from traitlets import TraitType


def packed(value):
    """JSON in which bytes are `{"base64": …}`."""
    if isinstance(value, (bytes, bytearray)):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {name: packed(one) for name, one in value.items()}
    return [packed(one) for one in value] if isinstance(value, list) else value


class AnyWidget:
    def __init__(self, **traits):
        self._traits, self._heard, self._opened = {}, None, False
        for name, value in traits.items():
            if not isinstance(getattr(type(self), "__dict__").get(name), TraitType):
                raise TypeError(f"{type(self).__name__} has no trait {name}")
            setattr(self, name, value)
        self._opened = True
        kernel.open(self._esm.read_text(), self._state(), self)

    def on_msg(self, callback):
        self._heard = callback

    def _state(self, *names):
        synced = [name for name, trait in vars(type(self)).items() if isinstance(trait, TraitType) and trait.metadata.get("sync")]
        return json.dumps({name: packed(getattr(self, name)) for name in names or synced})

    def _trait_changed(self, name):
        if self._opened:
            kernel.update(self._state(name))

    def _repr_mimebundle_(self):
        kernel.show()

    def _front_end_updates(self, state):
        """As ipywidgets: what is no synced trait is passed over."""
        for name, value in json.loads(state).items():
            trait = vars(type(self)).get(name)
            if isinstance(trait, TraitType) and trait.metadata.get("sync"):
                opened, self._opened = self._opened, False  # not told back
                setattr(self, name, value)
                self._opened = opened

    def _front_end_sends(self, content, buffers):
        self._heard(self, json.loads(content), [memoryview(buffer) for buffer in buffers])
