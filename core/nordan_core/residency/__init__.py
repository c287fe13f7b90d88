"""What may run, rest and be read where, decided from values alone.

The api, the scheduler, the sealer and the offline verifier call it. It must not read a clock, a file, an environment
or a random number: the instant, the atlas and the facts are arguments, so that a decision can be taken again later
and come out the same. Start reading at `policy`, then `layers`, `facts` and `judge`.
"""
