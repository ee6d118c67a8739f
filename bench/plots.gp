# The plots of bench/run: gnuplot -e "out='DIR'" bench/plots.gp, where
# clients.data and flush.data are.
set terminal svg size 720,400 noenhanced font "sans-serif,13" background "#ffffff"
set datafile separator "\t"
set grid ytics lc rgb "#dddddd"
set border 3 lc rgb "#666666"
set tics nomirror
set logscale x 2

set output out."/clients.svg"
set title "Reports of one key, by the number of clients"
set xlabel "clients"
set logscale y
set format y "%.0s %c"
set ylabel "reports per second"
set key outside below center horizontal samplen 2
plot for [i = 2:5] "clients.data" using 1:i with linespoints lw 2 pt 7 ps 0.5 \
	title columnheader(i)

set output out."/flush.svg"
set datafile separator whitespace
set title "Time of a flush, per entry"
set xlabel "entries of the flush"
set ylabel "microseconds per entry"
set logscale x 10
unset logscale y
set format y "%g"
set yrange [0:*]
set xrange [30:100000]
unset key
plot "flush.data" using 1:2 with points pt 7 ps 0.4 lc rgb "#4477aa"
