# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# chvctl itself knows what can stand where ("chvctl __complete"); here its answer is put in bash's words.

_chvctl() {
    local rest=${COMP_LINE:0:COMP_POINT} words=() typed prefix= row i

    # bash parts "path=a" in three words, chvctl wants one.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        if [[ ${#words[@]} -eq 0 || $rest == [[:space:]]* ]]; then
            words+=("")
            rest=${rest#"${rest%%[![:space:]]*}"}
        fi
        typed=${COMP_WORDS[i]}
        [[ $rest == "$typed"* ]] || typed=$rest
        words[-1]+=$typed
        rest=${rest#"$typed"}
    done

    typed=${words[-1]}
    # What bash replaces is only what follows the last of these.
    [[ $COMP_WORDBREAKS == *=* && $typed == *=* ]] && prefix=${typed%"${typed##*=}"}
    [[ $COMP_WORDBREAKS == *:* && $typed == *:* && ${typed%"${typed##*:}"} == "$prefix"* ]] &&
        prefix=${typed%"${typed##*:}"}

    COMPREPLY=()
    while IFS= read -r row; do
        case $row in
        :nospace) compopt -o nospace 2>/dev/null ;;
        ":files "*)
            row=${row#:files }
            compopt -o filenames 2>/dev/null
            while IFS= read -r i; do
                COMPREPLY+=("$i")
            done < <(compgen -f -- "${typed#"$row"}")
            ;;
        *)
            row=${row%%$'\t'*}
            COMPREPLY+=("${row#"$prefix"}")
            ;;
        esac
    done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
}

complete -F _chvctl chvctl
