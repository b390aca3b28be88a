"""Policies: rules over plain data, served to the engine as a policy pack and to ``ebbtide gate`` directly."""
