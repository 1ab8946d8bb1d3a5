{{- /* Common parts of both Deployments. */ -}}

{{- /* The argument is a dict of root, component and, where the pod reads them, a checksum of the policies. */ -}}
{{- define "signoff.pod.metadata" -}}
labels:
  {{- include "signoff.labels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
  {{- with .root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if or .policies .root.Values.podAnnotations }}
annotations:
  {{- with .policies }}
  checksum/policies: {{ . }}
  {{- end }}
  {{- with .root.Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- /* The argument is a dict of root, component and replicas. */ -}}
{{- define "signoff.pod.spec" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
terminationGracePeriodSeconds: {{ .root.Values.terminationGracePeriodSeconds }}
{{- with .root.Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if gt (int .replicas) 1 }}
topologySpreadConstraints:
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- topologyKey: {{ . }}
  maxSkew: 1
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "signoff.selectorLabels" $.root | nindent 6 }}
      app.kubernetes.io/component: {{ $.component }}
{{- end }}
{{- end }}
{{- with .root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* The volume of a store that is a folder. */ -}}
{{- define "signoff.store.folder" -}}
{{- if hasPrefix "file://" .Values.store.url }}
{{- trimPrefix "file://" .Values.store.url }}
{{- end }}
{{- end -}}

{{- define "signoff.store.claim" -}}
{{- if include "signoff.store.folder" . }}
{{- required "store.existingClaim names the volume of a store that is a folder" .Values.store.existingClaim }}
{{- end }}
{{- end -}}

{{- define "signoff.pod.container" -}}
image: {{ include "signoff.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
- name: RUST_LOG
  value: {{ .Values.log.filter | quote }}
# namespace of the keys and the lease
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
# name of the holder in the lease, for people
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- if .Values.store.url }}
- name: SIGNOFF_STORE
  value: {{ .Values.store.url | quote }}
{{- range $name, $value := .Values.store.env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- if and .Values.store.url .Values.store.secret }}
envFrom:
- secretRef:
    name: {{ .Values.store.secret }}
{{- end }}
startupProbe:
  httpGet:
    path: /healthz
    port: admin
  periodSeconds: 2
  failureThreshold: 30
livenessProbe:
  httpGet:
    path: /healthz
    port: admin
  periodSeconds: 10
  failureThreshold: 3
readinessProbe:
  httpGet:
    path: /readyz
    port: admin
  periodSeconds: 5
{{- with .Values.containerSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
