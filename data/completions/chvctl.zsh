#compdef chvctl
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# chvctl itself knows what can stand where ("chvctl __complete"); here its answer is put in zsh's words.

local row more= files=0
local -a candidates docs

for row in ${(f)"$(_call_program candidates ${words[1]} __complete ${(q)words[2,CURRENT-1]} ${(q)PREFIX} 2>/dev/null)"}; do
    case $row in
    :nospace) more=1 ;;
    ":files "*)
        files=1
        # Only what follows the key is a name.
        compset -P "${(b)${row#:files }}"
        ;;
    *)
        candidates+=("${row%%$'\t'*}")
        row=${row/%$'\t'}
        docs+=("${row/$'\t'/  -- }")
        ;;
    esac
done
(( files )) && _files
(( ${#candidates} )) && compadd -l ${more:+-S} ${more:+''} -d docs -- $candidates
