"""The wake keeper: ends wakes that cannot succeed and says why. It serves no request."""
