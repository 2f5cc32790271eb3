package rows

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	tf "github.com/wamuir/graft/tensorflow"
)

const (
	chunk       = 1 << 18 // bytes read or written at once
	longestLine = 1 << 24 // bytes
)

// A block is whole lines on their way to results; the input's last line may lack its end.
type block struct {
	text    string
	line    int // the number of its first
	rows    Array
	results []Array // of the runs that its rows completed
	counts  []int   // rows in each of them
	output  []byte
	err     error // ends the stream after this block
	last    bool
	ready   chan struct{} // closed when inParallel's work on it is done
}

// A stream turns rows into results.
type stream struct {
	run     func(Array) ([]Array, error)
	row     Placeholder
	size    int    // values in a row
	takes   string // the same, as text
	batch   int    // rows in a run
	waiting Array  // rows that do not fill a batch yet
}

// Stream reads rows, a line each, until the input ends, and writes the results of each, a line each.
//
// Rows go in batches, counted: the same rows give the same bytes however they arrive. Reading, parsing, calculating and
// writing overlap; the order stays. run goes from an array of the placeholder's type and of the shape for n rows to one
// of their results, shape `[n, ...]`. The error says which line is not a row; the results of those before it have been written.
// After an error the goroutines remain until the program ends, for a read cannot be cancelled.
func Stream(input io.Reader, output io.Writer, run func(Array) ([]Array, error), row Placeholder, batch int) error {
	size, takes, err := rowSize(row)
	if err != nil {
		return err
	}
	// Blocks soon become garbage: collected less often, they cost a tenth less processor time and 25 MB more memory.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	s := stream{run, row, size, takes, batch, Array{Type: row.Type}}
	calculated := make(chan *block)
	go func() {
		defer close(calculated)
		for b := range inParallel(readBlocks(input), s.parse) {
			<-b.ready
			if s.calculate(b, calculated); b.err != nil {
				return
			}
		}
	}()
	for b := range inParallel(calculated, formatResults) {
		<-b.ready
		if len(b.output) > 0 {
			if _, err := output.Write(b.output); err != nil {
				return err
			}
		}
		if b.err != nil {
			return b.err
		}
	}
	return nil
}

// inParallel passes blocks on in order, and works on several of them at once.
func inParallel(blocks <-chan *block, work func(*block)) <-chan *block {
	working := make(chan *block, runtime.NumCPU())
	go func() {
		defer close(working)
		for b := range blocks {
			b.ready = make(chan struct{})
			working <- b
			go func() {
				defer close(b.ready)
				work(b)
			}()
		}
	}()
	return working
}

func readBlocks(input io.Reader) <-chan *block {
	blocks := make(chan *block)
	go func() {
		defer close(blocks)
		var rest []byte // of a line
		buffer := make([]byte, chunk)
		for line, last := 1, false; !last; {
			n, err := input.Read(buffer)
			if last = err != nil; errors.Is(err, io.EOF) {
				err = nil
			}
			text := append(rest, buffer[:n]...)
			end := bytes.LastIndexByte(text, '\n') + 1
			if first, _, _ := bytes.Cut(text, []byte("\n")); len(first) > longestLine {
				err, last, end = fmt.Errorf("too long: line %d has more than %d bytes", line, longestLine), true, 0
			} else if last {
				end = len(text)
			}
			blocks <- &block{text: string(text[:end]), line: line, err: err, last: last}
			line += bytes.Count(text[:end], []byte("\n"))
			rest = append(rest[:0], text[end:]...)
		}
	}()
	return blocks
}

// parse reads the values of a block's rows, up to the first row that is wrong.
func (s *stream) parse(b *block) {
	b.rows = Array{Type: s.row.Type, Contents: make([]byte, 0, len(b.text)/2)}
	for number, text := b.line, b.text; text != ""; number++ {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		line = strings.TrimSuffix(line, "\r")
		before := b.rows.Len()
		count, err := b.rows.appendValues(line)
		switch {
		case line == "" && s.row.Type == tf.String:
			err = fmt.Errorf("blank: line %d (b64: is the empty string)", number)
		case err != nil:
			err = explain(line, s.row.Type, fmt.Sprintf(" on line %d", number))
		case count != s.size:
			err = fmt.Errorf("wrong number of values: %d given on line %d, the placeholder %s takes %s", count, number, s.row.Name, s.takes)
		}
		if err != nil {
			b.rows, b.err, b.last = b.rows.part(0, before), err, true
			return
		}
	}
}

// calculate runs the rows that fill batches, after the last block all rows, and keeps the others waiting. It sends the results,
// in parts if there are many.
func (s *stream) calculate(b *block, calculated chan<- *block) {
	s.waiting.Contents = append(s.waiting.Contents, b.rows.Contents...)
	s.waiting.Strings = append(s.waiting.Strings, b.rows.Strings...)
	width := max(1, s.size)
	done, count, held := 0, s.waiting.Len()/width, 0
	for done+s.batch <= count || b.last && done < count {
		n := min(s.batch, count-done)
		rows := s.waiting.part(done*width, (done+n)*width)
		rows.Shape = s.shape(n)
		results, err := s.run(rows)
		if err == nil && s.batch > 1 && (len(results[0].Shape) == 0 || results[0].Shape[0] != int64(n)) {
			err = notPerRow(results[0].Shape)
		}
		if err != nil {
			b.err = err
			break
		}
		b.results, b.counts = append(b.results, results[0]), append(b.counts, n)
		done += n
		if held += results[0].Len(); held > chunk {
			calculated <- &block{results: b.results, counts: b.counts}
			b.results, b.counts, held = nil, nil, 0
		}
	}
	rest := s.waiting.part(done*width, count*width)
	s.waiting.Contents = append(s.waiting.Contents[:0], rest.Contents...)
	s.waiting.Strings = append(s.waiting.Strings[:0], rest.Strings...)
	calculated <- b
}

// shape returns the shape in which n rows are fed.
func (s *stream) shape(n int) []int64 {
	if s.row.Shape == nil {
		return []int64{int64(n)}
	}
	shape := slices.Clone(s.row.Shape)
	for i, dim := range shape {
		shape[i] = max(dim, -dim)
	}
	if s.batch > 1 {
		shape[0] = int64(n)
	}
	return shape
}

func formatResults(b *block) {
	for i, results := range b.results {
		width := results.Len() / b.counts[i]
		b.output = slices.Grow(b.output, results.Len()*20)
		for row := range b.counts[i] {
			for column := range width {
				if column > 0 {
					b.output = append(b.output, ',')
				}
				b.output = results.appendText(b.output, row*width+column)
			}
			b.output = append(b.output, '\n')
		}
	}
}
