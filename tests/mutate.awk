# mutate.awk: a broken copy of a program, the same for the same `seed`: one to three of its tokens or lines are taken away, doubled,
# swapped, or replaced by a number or a word that should not stand there.
BEGIN {
    srand(seed)
    n_odd = split("0 -1 1e308 2147483648 9223372036854775807 0.5 [] () inf \"text\" 90% 1..3 x [1,2] 65536", odd, " ")
    n_word = split("+ - * / % ^ @ < = == ' . , ; : ( ) [ ] { } ~ <- -> .. and every with learn state minimize for in if wrt from keep " \
                   "report emit when window key new stop pool avg given total sum level over default batch on test step t loss", word, " ")
}
{ line[NR] = $0 }
function pick(n) { return 1 + int(n * rand()) }
# The tokens of a line: the k-th starts at start[k]; comments are left out.
function tokens(s,    at, n) {
    n = 0
    for (at = 1; at <= length(s) && match(substr(s, at), /[A-Za-z_][A-Za-z_0-9]*|[0-9]+|"[^"]*"|[^ ]/); at += RLENGTH) {
        at += RSTART - 1
        if (substr(s, at, 1) == "#") break
        n++
        start[n] = at
        size[n] = RLENGTH
    }
    return n
}
function put(i, k, text) { line[i] = substr(line[i], 1, start[k] - 1) text substr(line[i], start[k] + size[k]) }
function text_of(i, k) { return substr(line[i], start[k], size[k]) }
function mutate(    i, j, k, n, how, held) {
    i = pick(NR); j = pick(NR); how = pick(10)
    if (how == 1) { line[i] = ""; return }
    if (how == 2) { line[i] = line[i] "\n" line[j]; return }
    if (how == 3) { held = line[i]; line[i] = line[j]; line[j] = held; return }
    n = tokens(line[j])
    if (!n) return
    k = pick(n)
    held = text_of(j, k)
    if (how == 4) { put(j, k, ""); return }
    if (how == 5) { put(j, k, held " " held); return }
    if (how == 6) { put(j, k, word[pick(n_word)]); return }
    if (how == 7) { put(j, k, held " " word[pick(n_word)]); return }
    n = tokens(line[i])
    if (!n) return
    k = pick(n)
    if (how == 8) { put(i, k, held); return }
    for (j = 1; j <= n && text_of(i, k) !~ /^[0-9]/; j++) k = 1 + k % n      # a number, if there is one
    put(i, k, odd[pick(n_odd)])
}
END {
    for (times = pick(3); times > 0; times--) mutate()
    for (i = 1; i <= NR; i++) print line[i]
}
