# The readings as rows of a Markdown table, in the order in which they came.

function median(list, n,    i, j, x) {
    for (i = 2; i <= n; i++) {
        x = list[i]
        for (j = i - 1; j >= 1 && list[j] > x; j--)
            list[j + 1] = list[j]
        list[j + 1] = x
    }
    return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}

# Three significant digits, or all before the point.
function digits(x) {
    return x >= 100 ? sprintf("%.0f", x) : sprintf("%.3g", x)
}

NR == FNR {
    better[$1] = $2
    title[$1] = $3
    next
}

{
    key = $1 SUBSEP $2
    if (!(key in n)) {
        order[++nkeys] = key
        reach[key] = $3
        unit[key] = $6
    }
    i = ++n[key]
    ours[key, i] = $4
    theirs[key, i] = $5
}

END {
    for (k = 1; k <= nkeys; k++) {
        key = order[k]
        split(key, part, SUBSEP)
        ratios = 0
        for (i = 1; i <= n[key]; i++) {
            a[i] = ours[key, i] + 0
            b[i] = theirs[key, i] + 0
            if (theirs[key, i] != "-" && b[i] != 0)
                r[++ratios] = a[i] / b[i]
        }
        ratio = spread = "-"
        mark = ""
        if (ratios > 0) {
            m = median(r, ratios)
            ratio = digits(m)
            spread = digits(r[1]) " to " digits(r[ratios])
            goal = reach[key]
            short = better[part[1]] == "high" ? m < goal : m > goal
            if (goal != "-" && short)
                mark = " (short)"
        }
        if (reach[key] != "-" && ratios == 0) {
            m = median(a, n[key])
            if (better[part[1]] == "high" ? m < reach[key] : m > reach[key])
                mark = " (short)"
        }
        goal = reach[key] == "-" ? "-" : \
            (better[part[1]] == "high" ? "≥ " : "≤ ") reach[key] mark
        printf "| %s | %s | %s | %s | %s | %s | %s | %s |\n", title[part[1]],
            part[2], ratio, spread, goal, digits(median(a, n[key])),
            theirs[key, 1] == "-" ? "-" : digits(median(b, n[key])), unit[key]
    }
}
