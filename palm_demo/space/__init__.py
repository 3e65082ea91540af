"""`python -m palm_demo.space {render,check,deploy}`: the Hugging Face Space that the Spacefile describes.

ZeroGPU is not among the hardware that it can be deployed to. What it would take, by the source of the package
`spaces` (0.51), which on any other machine leaves functions as they are:

- `spaces.GPU` runs a function in a process forked from this one. Arguments and results cross by pickle, so
  what is decorated are the session's verbs, with the session in their closure, not `Writer.stream`, whose
  prefill holds a model. `duration` may be a function of the same arguments: seconds for the prompt and for
  `max_new_tokens`. Inside of the worker, verbs that call verbs run on without another fork.
- The worker knows the session as it was when it was forked, and may serve later requests too. Bundled scopes
  are there by name; a visitor's is an Adapter, a value that crosses with its request. What a worker changes
  is lost, which is nothing: caches belong to requests.
- The continuous batch has a thread that starts with the first text and ends with the last. As long as this
  process never writes a text itself, a worker begins with an idle batch and starts its own. Each request has
  a worker to itself, so that batch has one row: visitors wait for ZeroGPU's line, not for ours.
- A stop's `threading.Event` does not cross. Closing the iterator does: the worker ends its generator at the
  next delta. So this side has to look at the event between deltas, and close.
- An error comes back as the name of its class alone. A PalmDemoError has to cross as a value, to be raised
  on this side with its message.
- `import spaces` comes before torch, models are put on "cuda" before the page is built, and nothing may be
  compiled, as a compiled function would be lost with the worker.
- What keeps it from being done in one module: weights reach the workers when the page is launched, and
  outside of a worker tensors on "cuda" have values in the main thread alone. The page embeds a new gallery's
  pictures while it is built, and the session computes in threads of its own. Both would have to change, and
  only a Space can show that they did so rightly.
"""
