{{- define "signoff.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- /* Name of objects in the release namespace. */ -}}
{{- define "signoff.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "signoff.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "signoff.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Name of cluster-wide objects of this installation. It contains the release namespace if a cluster can have several
       installations. A name that is too long ends in a hash of the whole name, so that no two become equal. */ -}}
{{- define "signoff.clusterName" -}}
{{- if .Values.watchNamespaces -}}
{{- $name := printf "%s-%s" (include "signoff.fullname" .) .Release.Namespace -}}
{{- if gt (len $name) 52 -}}
{{- printf "%s-%s" ($name | trunc 43 | trimSuffix "-") (sha256sum $name | trunc 8) -}}
{{- else -}}
{{- $name -}}
{{- end -}}
{{- else -}}
{{- include "signoff.fullname" . -}}
{{- end -}}
{{- end -}}

{{- define "signoff.serviceAccount" -}}
{{- default "signoff-controller" .Values.serviceAccount.name -}}
{{- end -}}

{{- define "signoff.gatewayServiceAccount" -}}
{{- if eq (include "signoff.serviceAccount" .) (default "signoff-gateway" .Values.serviceAccount.gatewayName) -}}
{{- fail "serviceAccount.name and serviceAccount.gatewayName are the same: the gateway, which the outside reaches, would be the operator" -}}
{{- end -}}
{{- default "signoff-gateway" .Values.serviceAccount.gatewayName -}}
{{- end -}}

{{- define "signoff.gateway" -}}
{{- printf "system:serviceaccount:%s:%s" .Release.Namespace (include "signoff.gatewayServiceAccount" .) -}}
{{- end -}}

{{- define "signoff.operator" -}}
{{- printf "system:serviceaccount:%s:%s" .Release.Namespace (include "signoff.serviceAccount" .) -}}
{{- end -}}

{{- define "signoff.selectorLabels" -}}
app.kubernetes.io/name: {{ include "signoff.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "signoff.labels" -}}
{{ include "signoff.selectorLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "signoff.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- /* Address at which outside systems reach the gateway. Callback URLs start with it. */ -}}
{{- define "signoff.gatewayUrl" -}}
{{- if .Values.gateway.url -}}
{{- trimSuffix "/" .Values.gateway.url -}}
{{- else if and .Values.ingress.enabled .Values.ingress.host -}}
{{- printf "%s://%s" (ternary "https" "http" (ne .Values.ingress.tlsSecret "")) .Values.ingress.host -}}
{{- else if and .Values.httpRoute.enabled .Values.httpRoute.hostnames -}}
{{- printf "https://%s" (first .Values.httpRoute.hostnames) -}}
{{- else -}}
{{- printf "http://%s.%s.svc:%v" (include "signoff.fullname" .) .Release.Namespace .Values.service.port -}}
{{- end -}}
{{- end -}}

{{- /* CEL lists of user names. */ -}}
{{- define "signoff.policies.operators" -}}
[{{ range $i, $name := concat (list (include "signoff.operator" .)) .Values.policies.extraOperators | uniq }}{{ if $i }}, {{ end }}'{{ $name }}'{{ end }}]
{{- end -}}
{{- define "signoff.policies.controllers" -}}
[{{ range $i, $name := .Values.policies.controllers }}{{ if $i }}, {{ end }}'{{ $name }}'{{ end }}]
{{- end -}}

{{- /* CEL: whether a request creates a flow or changes its definition, which is its spec without live. A test compares the list
       with the fields of the kind. */ -}}
{{- define "signoff.policies.definitionChanged" -}}
oldObject == null
{{- range list "description" "inputs" "steps" "output" "promotion" }} || object.spec.?{{ . }} != oldObject.spec.?{{ . }}{{ end }}
{{- end -}}
{{- /* CEL: whether a request sets or changes spec.live of a flow. */ -}}
{{- define "signoff.policies.liveChanged" -}}
oldObject == null ? has(object.spec.live) : object.spec.?live != oldObject.spec.?live
{{- end -}}

{{- /* CEL: the owners that a request adds. Version, kind, name and uid must all be equal: the garbage collector also treats an
       owner as missing if the uid stays and the kind or name does not exist. */ -}}
{{- define "signoff.policies.newOwners" -}}
object == null ? [] : object.metadata.?ownerReferences.orValue([]).filter(o,
oldObject == null || !oldObject.metadata.?ownerReferences.orValue([]).exists(p,
p.apiVersion == o.apiVersion && p.kind == o.kind && p.name == o.name && p.uid == o.uid))
{{- end -}}

{{- /* Whether the API server can stamp the author. */ -}}
{{- define "signoff.policies.stamp" -}}
{{- if eq .Values.policies.stamp "always" -}}
true
{{- else if and (eq .Values.policies.stamp "auto") (.Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy") -}}
true
{{- end -}}
{{- end -}}

{{- /* Whether the operator compares the policies with what this chart renders: it can watch them, and they are this chart's. */ -}}
{{- define "signoff.policies.compared" -}}
{{- if and .Values.policies.enabled (not .Values.watchNamespaces) }}true{{ end -}}
{{- end -}}

{{- /* By the last one, the operator checks that all policies exist. */ -}}
{{- define "signoff.policies.labels" -}}
{{ include "signoff.labels" . }}
signoff.dev/policies: {{ include "signoff.clusterName" . }}
{{- end -}}

{{- /* The binding of a policy; the argument is a dict of root, kind and suffix. */ -}}
{{- define "signoff.policies.binding" -}}
{{- $name := printf "%s-%s" (include "signoff.clusterName" .root) .suffix -}}
apiVersion: admissionregistration.k8s.io/v1
kind: {{ .kind }}Binding
metadata:
  name: {{ $name }}
  labels:
    {{- include "signoff.policies.labels" .root | nindent 4 }}
spec:
  policyName: {{ $name }}
  {{- if eq .kind "ValidatingAdmissionPolicy" }}
  # Audit in addition to Deny, so that the audit log contains refused attempts with the reason
  validationActions: [Deny, Audit]
  {{- end }}
  {{- with .root.Values.watchNamespaces }}
  matchResources:
    namespaceSelector:
      matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: In
        values: {{ toJson . }}
  {{- end }}
{{- end -}}
