# bash completion for lbcluster and lbcluster-sim: the program itself knows what may come next.
_lbcluster() {
    local IFS=$' \t\n' i word joined=() tail line kind
    # bash takes words apart at = and :, which belong to KEY=VALUE and to IPv6 addresses.
    for ((i = 1; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((${#joined[@]})) && [[ $word == [=:]* || ${joined[-1]} == *[=:] ]] && [[ $i -gt 1 ]]; then
            joined[-1]+=$word
        else
            joined+=("$word")
        fi
    done
    ((${#joined[@]})) || joined=("")
    COMPREPLY=()
    # What bash takes for the current word is only the part behind the last of them.
    tail=${joined[-1]##*[=:]}
    local front=${joined[-1]%"$tail"}
    while IFS= read -r line; do
        if [[ -z ${kind-} ]]; then
            kind=$line
            continue
        fi
        word=${line%%$'\t'*}
        COMPREPLY+=("${word#"$front"}")
    done < <("${COMP_WORDS[0]}" complete -- "${joined[@]}" 2>/dev/null)
    case ${kind-} in
    files) mapfile -t COMPREPLY < <(compgen -f -- "$tail") && compopt -o filenames 2>/dev/null ;;
    folders) mapfile -t COMPREPLY < <(compgen -d -- "$tail") && compopt -o filenames 2>/dev/null ;;
    esac
    if ((${#COMPREPLY[@]} == 1)) && [[ ${COMPREPLY[0]} == *= ]]; then compopt -o nospace 2>/dev/null; fi
    return 0
}
complete -F _lbcluster lbcluster lbcluster-sim
