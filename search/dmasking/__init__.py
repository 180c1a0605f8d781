"""DMaskingNAS (FBNetV2): an architecture learnt by gradient, on masks of one super-network.

`architecture` is what is learnt of the space, `cost` what its networks take in expectation,
`training` the alternation of both kinds of steps, `drawn` the searcher that proposes what was
learnt. `docs/dmasking.md` has the equations.
"""
