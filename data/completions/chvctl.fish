# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# chvctl itself knows what can stand where ("chvctl __complete"); here its answer is put in fish's words.

function __chvctl_candidates
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    for row in ($words[1] __complete $words[2..-1] "$typed" 2>/dev/null)
        switch $row
            case :nospace
                # fish adds no space behind '=' and ',' by itself.
            case ':files *'
                set -l prefix (string replace ':files ' '' -- $row)
                set -l name (string sub -s (math (string length -- "$prefix") + 1) -- "$typed")
                for file in (__fish_complete_path "$name")
                    echo $prefix$file
                end
            case '*'
                echo $row
        end
    end
end

complete -c chvctl -f -a '(__chvctl_candidates)'
