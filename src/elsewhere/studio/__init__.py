"""The studio: a web page that does live what the library does. `elsewhere studio` serves it.

The page asks questions (JSON); `answers.ANSWERS` has a generator for each kind of question, which calls the public API
and yields messages (JSON lines). `turns.Turns` runs these generators one message at a time, each client in turn.
The server keeps no state of a client except the images that it uploaded: a question says everything that its answer
depends on.
"""
