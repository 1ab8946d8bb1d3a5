// Evaluates the expressions of a list on standard input with Kubernetes' own CEL: what our evaluator is compared with. One line of
// JSON for each: the expression, and its value in a form that says its types, or how it fails.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"sort"
	"strconv"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	kjson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/version"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

type result struct {
	Expression string `json:"expression"`
	Value      string `json:"value,omitempty"`
	// compile: refused before it is evaluated
	Error string `json:"error,omitempty"`
}

func main() {
	set := environment.MustBaseEnvSet(version.MajorMinor(1, 37))
	extended, err := set.Extend(environment.VersionedOptions{
		IntroducedVersion: version.MajorMinor(1, 0),
		EnvOptions:        []cel.EnvOption{cel.Variable("inputs", cel.DynType)},
	})
	if err != nil {
		log.Fatal(err)
	}
	env, err := extended.Env(environment.StoredExpressions)
	if err != nil {
		log.Fatal(err)
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	var inputs map[string]any
	for lines.Scan() {
		line := lines.Text()
		if given, ok := strings.CutPrefix(line, "inputs {"); ok {
			inputs = nil
			if err := kjson.Unmarshal([]byte("{"+given), &inputs); err != nil {
				log.Fatal(err)
			}
			continue
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := encoder.Encode(evaluate(env, strings.TrimPrefix(strings.TrimPrefix(line, "~ "), "! "), inputs)); err != nil {
			log.Fatal(err)
		}
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
}

func evaluate(env *cel.Env, expression string, inputs map[string]any) result {
	ast, issues := env.Compile(expression)
	if issues.Err() != nil {
		return result{Expression: expression, Error: "compile"}
	}
	program, err := env.Program(ast)
	if err != nil {
		return result{Expression: expression, Error: "compile"}
	}
	value, _, err := program.Eval(map[string]any{"inputs": inputs})
	if err != nil {
		return result{Expression: expression, Error: "evaluate: " + err.Error()}
	}
	return result{Expression: expression, Value: shown(value)}
}

// A value in a form that says its type.
func shown(value ref.Val) string {
	switch value := value.(type) {
	case types.Null:
		return "null"
	case types.Bool:
		return strconv.FormatBool(bool(value))
	case types.Int:
		return strconv.FormatInt(int64(value), 10)
	case types.Uint:
		return strconv.FormatUint(uint64(value), 10) + "u"
	case types.Double:
		return fmt.Sprintf("double(%s)", value.ConvertToType(types.StringType).Value())
	case types.String:
		return quoted(string(value))
	case types.Bytes:
		return fmt.Sprintf("bytes(%s)", base64.StdEncoding.EncodeToString(value))
	case types.Timestamp:
		return fmt.Sprintf("timestamp(%s)", value.ConvertToType(types.StringType).Value())
	case types.Duration:
		return fmt.Sprintf("duration(%s)", value.ConvertToType(types.StringType).Value())
	case *types.Type:
		return fmt.Sprintf("type(%s)", value.TypeName())
	case *types.Optional:
		if !value.HasValue() {
			return "optional.none()"
		}
		return fmt.Sprintf("optional.of(%s)", shown(value.GetValue()))
	case apiservercel.IP:
		return fmt.Sprintf("ip(%s)", value.Addr)
	case apiservercel.CIDR:
		return fmt.Sprintf("cidr(%s)", value.Prefix)
	case apiservercel.URL:
		return fmt.Sprintf("url(%s)", value.URL)
	case apiservercel.Semver:
		return fmt.Sprintf("semver(%s)", value.Version)
	case apiservercel.Format:
		return fmt.Sprintf("format(%s)", value.Name)
	case traits.Lister:
		var items []string
		for it := value.Iterator(); it.HasNext() == types.True; {
			items = append(items, shown(it.Next()))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case traits.Mapper:
		var entries []string
		for it := value.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			entries = append(entries, shown(key)+": "+shown(value.Get(key)))
		}
		sort.Strings(entries)
		return "{" + strings.Join(entries, ", ") + "}"
	}
	return value.Type().TypeName()
}

func quoted(text string) string {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil {
		log.Fatal(err)
	}
	return strings.TrimSuffix(out.String(), "\n")
}
