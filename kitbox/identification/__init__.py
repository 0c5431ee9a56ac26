"""Identification: who is on new photographs, by a catalogue of known individuals."""
