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
{{- $repository := required "set image.repository: nobody publishes an image yet; build the Dockerfile and push it where the cluster can pull it" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (.Values.image.tag | default .Chart.AppVersion) -}}
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

{{- /* An admission policy with its binding; the argument is a dict of root, sort (validating or mutating) and about. The embedded
       control plane reads the same files, so they use only these placeholders, and nothing else of a template. */ -}}
{{- define "signoff.policy" -}}
{{- $root := .root -}}
{{- $values := $root.Files.Get "files/policies/shared.yaml" | fromYaml -}}
{{- $_ := set $values "name" (include "signoff.clusterName" $root) -}}
{{- $_ := set $values "labels" (include "signoff.policies.labels" $root | indent 4 | trim) -}}
{{- $_ := set $values "operators" (include "signoff.policies.operators" $root) -}}
{{- $_ := set $values "controllers" (include "signoff.policies.controllers" $root) -}}
{{- $_ := set $values "gateway" (include "signoff.gateway" $root) -}}
{{- $_ := set $values "rolePrefix" $root.Values.clusterRoles.prefix -}}
{{- $_ := set $values "stamps" (ternary "true" "false" (ne (include "signoff.policies.stamp" $root) "")) -}}
{{- tpl ($root.Files.Get (printf "files/policies/%s/%s.yaml" .sort .about)) $values | trim }}
---
{{ include "signoff.policies.binding" (dict "root" $root "kind" (printf "%sAdmissionPolicy" (title .sort)) "suffix" .about) }}
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

{{- /* Names of hosts under which agents reach the gateway. */ -}}
{{- define "signoff.mcpHosts" -}}
{{- $service := include "signoff.fullname" . -}}
{{- $hosts := list $service (printf "%s.%s" $service .Release.Namespace) (printf "%s.%s.svc" $service .Release.Namespace) (printf "%s.%s.svc.cluster.local" $service .Release.Namespace) -}}
{{- if .Values.gateway.url -}}
{{- $hosts = append $hosts (urlParse .Values.gateway.url).hostname -}}
{{- end -}}
{{- if .Values.ingress.enabled -}}
{{- $hosts = append $hosts .Values.ingress.host -}}
{{- end -}}
{{- if .Values.httpRoute.enabled -}}
{{- $hosts = concat $hosts .Values.httpRoute.hostnames -}}
{{- end -}}
{{- concat $hosts .Values.gateway.mcp.hosts | uniq | join "," -}}
{{- end -}}
