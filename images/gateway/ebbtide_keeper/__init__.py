"""The wake keeper: ends wakes that cannot succeed and says why; gives engines that share a card their turns on it.

It serves no request.
"""
