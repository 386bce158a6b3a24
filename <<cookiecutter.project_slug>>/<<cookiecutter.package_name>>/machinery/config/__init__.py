"""From conf/ and a command line to one configuration: composed by Hydra, held to dataclasses, credentials refused."""
