#compdef lbcluster lbcluster-sim
# zsh completion: the program itself knows what may come next.
local -a answer whole begun
local line word
answer=("${(@f)$(_call_program answer "${(q)words[1]} complete -- ${(j: :)${(@q)${(@Q)words[2,CURRENT]}}}" 2>/dev/null)}")
case ${answer[1]} in
files) _files ;;
folders) _files -/ ;;
words)
    for line in "${(@)answer[2,-1]}"; do
        [[ -n $line ]] || continue
        word=${line%%$'\t'*}
        if [[ $word == *= ]]; then
            begun+=("${word//:/\\:}:${line#*$'\t'}")
        else
            whole+=("${word//:/\\:}:${line#*$'\t'}")
        fi
    done
    (( $#whole )) && _describe -t words lbcluster whole
    (( $#begun )) && _describe -t words lbcluster begun -S ''
    ;;
esac
