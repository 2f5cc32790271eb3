package rows

import (
	"math"
	"math/big"
	"sort"
	"strconv"
	"strings"

	tf "github.com/wamuir/graft/tensorflow"
)

// A format describes a 16-bit float: its bits, shifted, are those of a float32, which times the scale is the value.
type format struct {
	shift    uint
	scale    float64
	infinity uint64 // its bits
}

var formats = map[tf.DataType]format{tf.Half: {13, 0x1p112, 0x7c00}, tf.Bfloat16: {16, 1, 0x7f80}}

// size returns the absolute value of a number; for infinity, what would be the next number after the largest.
func (f format) size(bits uint64) float64 {
	return math.Min(float64(math.Float32frombits(uint32(bits&0x7fff<<f.shift)))*f.scale, 0x1p128)
}

// round returns the bits of the number nearest to decimal digits, whose nearest float64 is wide. If wide is midway between two
// numbers, the digits decide, for they may not be.
func (f format) round(digits string, wide float64) (uint64, error) {
	size, sign := math.Abs(wide), math.Float64bits(wide)>>63<<15
	switch {
	case math.IsNaN(wide):
		return f.infinity | 1<<(22-f.shift), nil
	case math.IsInf(wide, 0):
		return f.infinity | sign, nil
	}
	above := uint64(sort.Search(int(f.infinity), func(bits int) bool { return f.size(uint64(bits)) > size }))
	middle := (f.size(above-1) + f.size(above)) / 2
	up := size > middle
	if size == middle {
		side := 0
		if exact, ok := new(big.Rat).SetString(digits); ok {
			side = exact.Abs(exact).Cmp(new(big.Rat).SetFloat64(middle))
		}
		up = side > 0 || side == 0 && above%2 == 0
	}
	switch {
	case !up:
		return above - 1 | sign, nil
	case above == f.infinity:
		return 0, strconv.ErrRange
	}
	return above | sign, nil
}

// shortest returns the float64 with the shortest digits that read back to the number: those of the nearest decimal of that
// length, or of the next one away from zero if only that reads back.
func (f format) shortest(bits uint64) float64 {
	size, sign := f.size(bits), 1-2*int(bits>>15)
	switch bits &= 0x7fff; {
	case bits > f.infinity:
		return math.NaN()
	case bits == f.infinity:
		return math.Inf(sign)
	}
	for digits := 0; ; digits++ {
		text := strconv.FormatFloat(size, 'e', digits, 64)
		decimal, _ := strconv.ParseFloat(text, 64)
		back, _ := f.round(text, decimal)
		if back != bits && decimal < size {
			exponent, _ := strconv.Atoi(text[strings.IndexByte(text, 'e')+1:])
			text = strconv.FormatFloat(decimal+math.Pow10(exponent-digits), 'e', digits, 64)
			decimal, _ = strconv.ParseFloat(text, 64)
			back, _ = f.round(text, decimal)
		}
		if back == bits {
			return math.Copysign(decimal, float64(sign))
		}
	}
}
