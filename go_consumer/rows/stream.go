package rows

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"

	tf "github.com/wamuir/graft/tensorflow"
)

const (
	longestLine = 1 << 24 // bytes
	chunk       = 1 << 16 // bytes looked at for whole batches
)

// A stream turns rows into results.
type stream struct {
	run   func(Array) ([]Array, error)
	row   Placeholder
	size  int          // values in a row
	takes string       // the same, as text
	batch int          // rows in a run
	most  atomic.Int64 // rows in a block, so that their results take little memory
}

// A block is the lines of a batch, or of several that have arrived, on their way to results. The input's last line may lack its
// end.
type block struct {
	text   strings.Builder
	line   int // the number of its first
	output []byte
	err    error         // ends the stream after this block
	done   chan struct{} // closed when output and err are there
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
	// Blocks soon become garbage: collected less often, they cost less processor time and 25 MB more memory.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	s, blocks := stream{run: run, row: row, size: size, takes: takes, batch: batch}, make(chan *block, runtime.NumCPU())
	go s.read(input, blocks)
	for b := range blocks {
		<-b.done
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

// read cuts the input into blocks, and works on several of them at once.
func (s *stream) read(input io.Reader, blocks chan<- *block) {
	defer close(blocks)
	reader := bufio.NewReaderSize(input, longestLine+1)
	before := make(chan struct{}) // closed when the block before is calculated
	close(before)
	for number, last, length := 1, false, 0; !last; {
		b := &block{line: number, done: make(chan struct{})}
		b.text.Grow(length)
		arrived, _ := reader.Peek(min(reader.Buffered(), chunk))
		whole := min(bytes.Count(arrived, []byte("\n")), int(s.most.Load()))
		for end := number + max(s.batch, whole-whole%s.batch); number < end && !last; number++ {
			line, err := reader.ReadSlice('\n')
			if last = err != nil; err == bufio.ErrBufferFull {
				b.err = fmt.Errorf("too long: line %d has more than %d bytes", number, longestLine)
				break
			} else if err != io.EOF {
				b.err = err
			}
			b.text.Write(line)
		}
		length = b.text.Len()
		blocks <- b
		turn, calculated := before, make(chan struct{})
		before = calculated
		go func() {
			rows := s.parse(b)
			<-turn
			results := s.calculate(b, rows)
			close(calculated)
			for i, array := range results {
				b.output = array.appendRows(b.output, min(s.batch, rows.Len()/s.size-i*s.batch))
			}
			close(b.done)
		}()
	}
}

// parse reads the values of a block's rows, up to the first row that is wrong.
func (s *stream) parse(b *block) Array {
	rows := Array{Type: s.row.Type, Contents: make([]byte, 0, b.text.Len())}
	for number, text := b.line, b.text.String(); text != ""; number++ {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		line = strings.TrimSuffix(line, "\r")
		before := rows
		count, err := rows.appendValues(line, "", number)
		if line == "" && s.row.Type == tf.String {
			err = fmt.Errorf("blank: line %d (b64: is the empty string)", number)
		} else if err == nil && count != s.size {
			err = fmt.Errorf("wrong number of values: %d given on line %d, the placeholder %s takes %s",
				count, number, s.row.Name, s.takes)
		}
		if err != nil {
			b.err = err
			return before
		}
	}
	return rows
}

// calculate returns the results of a block's rows, batch by batch.
func (s *stream) calculate(b *block, rows Array) (results []Array) {
	shape, count := []int64{1}, rows.Len()/s.size
	if s.row.Shape != nil {
		shape = slices.Clone(s.row.Shape)
	}
	for i, dim := range shape {
		shape[i] = max(dim, -dim)
	}
	for done := 0; done < count; done += s.batch {
		n := min(s.batch, count-done)
		part := rows.part(done*s.size, (done+n)*s.size)
		if part.Shape = slices.Clone(shape); s.batch > 1 {
			part.Shape[0] = int64(n)
		}
		arrays, err := s.run(part)
		if err == nil && s.batch > 1 && (len(arrays[0].Shape) == 0 || arrays[0].Shape[0] != int64(n)) {
			err = notPerRow(arrays[0].Shape)
		}
		if err != nil {
			b.err = err
			break
		}
		results = append(results, arrays[0])
		s.most.Store(int64(maxBatch * n / max(1, arrays[0].Len())))
	}
	return results
}

// appendRows appends the text of the results of that many rows.
func (a Array) appendRows(text []byte, rows int) []byte {
	text = slices.Grow(text, 20*a.Len())
	width := a.Len() / rows
	for row := range rows {
		for i := range width {
			if i > 0 {
				text = append(text, ',')
			}
			text = a.appendText(text, row*width+i)
		}
		text = append(text, '\n')
	}
	return text
}
