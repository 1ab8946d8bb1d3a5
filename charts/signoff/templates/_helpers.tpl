{{- define "signoff.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- /* Name of what lies in the release namespace. */ -}}
{{- define "signoff.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "signoff.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "signoff.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Name of what belongs to this installation but lies outside any namespace: with the release namespace in it where several
       installations can be in one cluster. One that is too long ends in a hash of the whole, so that no two are cut to the same. */ -}}
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

{{- /* Where outside systems reach the gateway: what callback URLs begin with. */ -}}
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

{{- /* CEL: whether a request makes or changes what a release would fix of a flow, which is its spec without live. A test holds the list to
       the kind's fields. */ -}}
{{- define "signoff.policies.definitionChanged" -}}
oldObject == null
{{- range list "description" "inputs" "steps" "output" "promotion" }} || object.spec.?{{ . }} != oldObject.spec.?{{ . }}{{ end }}
{{- end -}}
{{- /* CEL: whether a request sets or changes the release that a flow wants live. */ -}}
{{- define "signoff.policies.liveChanged" -}}
oldObject == null ? has(object.spec.live) : object.spec.?live != oldObject.spec.?live
{{- end -}}

{{- /* CEL: the owners that an object has and had not. An owner is all that the garbage collector looks for it by: one whose uid is kept under a kind
       or a name that does not exist is gone for it as well. */ -}}
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

{{- /* The operator watches by the last one that all policies are there. */ -}}
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
  # Audit beside Deny, so that the audit log has the refused attempts with the reason
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
