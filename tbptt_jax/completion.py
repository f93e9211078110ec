"""Scripts by which a shell completes the words of `tbptt`: its commands, their options, and the experiments."""

import argparse
from collections.abc import Mapping

from tbptt_jax.experiments import names as experiment_names

OF_EXPERIMENTS = ("list", "run", "status", "plot", "claims", "export", "verify")
"""Commands whose argument `name` is an experiment."""

BASH = """_tbptt() {{
  local words=""
  if [ "$COMP_CWORD" -eq 1 ]; then words="{commands}"; else
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
  [ -n "$words" ] && [ "${{#COMPREPLY[@]}}" -gt 0 ] || COMPREPLY=($(compgen -f -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -F _tbptt tbptt"""


def completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """To be read by the shell: `source <(tbptt completion bash)`, or `tbptt completion fish | source`."""
    words = {name: words_of(name, command) for name, command in subcommands(parser).items()}
    if shell == "fish":
        return fish(words)
    cases = "\n".join(f'      {name}) words="{" ".join(found)}" ;;' for name, found in words.items())
    script = BASH.format(commands=" ".join(words), cases=cases)
    return f"autoload -U +X bashcompinit && bashcompinit\n{script}" if shell == "zsh" else script


def subcommands(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices
    return {}


def words_of(name: str, command: argparse.ArgumentParser) -> list[str]:
    """The options of a command, what its words are chosen among, and, where it takes one, the experiments."""
    words = []
    for action in command._actions:
        if action.option_strings:
            words.append(max(action.option_strings, key=len))
        else:
            named = name in OF_EXPERIMENTS and action.dest == "name"
            words.extend(map(str, action.choices or (experiment_names() if named else ())))
    return words


def fish(words: Mapping[str, list[str]]) -> str:
    first = f"complete -c tbptt -n __fish_use_subcommand -f -a '{' '.join(words)}'"
    when = "__fish_seen_subcommand_from"
    return "\n".join(
        [first, *(f"complete -c tbptt -n '{when} {name}' -a '{' '.join(ws)}'" for name, ws in words.items())]
    )
